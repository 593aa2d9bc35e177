"""What an answer is worth: graders that score by rule."""
