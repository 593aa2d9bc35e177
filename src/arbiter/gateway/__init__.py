"""THE DOOR: what clients send is parsed here and nowhere else."""
