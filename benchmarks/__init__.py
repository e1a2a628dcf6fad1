"""How fast it is, against the raw operation of the store and the least program that does the job honestly.

`python -m benchmarks` says what there is. Every figure is a ratio to something measured in the same run.
"""
