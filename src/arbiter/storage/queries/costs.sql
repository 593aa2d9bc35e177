-- name: add_cost
INSERT INTO costs (decision, energy_mwh, energy_method, energy_error_pct, energy_note, energy_by,
                   gpu_ms, gpu_method, gpu_note, peak_bytes, mean_bytes, memory_method,
                   memory_note, device_bytes, device_method, device_note)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (decision) DO NOTHING;

-- name: get_cost
SELECT energy_mwh, energy_method, energy_error_pct, energy_note, energy_by, gpu_ms, gpu_method,
       gpu_note, peak_bytes, mean_bytes, memory_method, memory_note, device_bytes, device_method,
       device_note
FROM costs WHERE decision = ?;
