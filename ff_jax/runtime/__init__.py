"""Share files, checkpoints, logs, locks and network weights between all programs.

atomic_files     write files atomically, explain a full disk
checkpoint       save and restore pytrees, bit for bit
divergence       find the step of a training that diverged
onnx_model       run ONNX networks (onnxruntime is optional)
out_of_memory    explain that memory does not suffice
progress         rate, remaining time and compilation on the terminal
resize           resize images for networks
run_facts        settings, log and environment of a run
run_lock         lock a run folder
run_log          metrics of a run
stop             end a training at its next step
untrusted_files  read damaged or hostile files
weight_files     find, download and read network weights
"""
