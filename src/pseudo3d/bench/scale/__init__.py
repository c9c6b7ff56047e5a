"""What a job on many machines takes: hours, money, and what stops it from getting faster.

A cost model over stages that were measured on one machine, and a simulation that runs the job's
queues. Neither needs torch; `stages` measures.
"""
