"""What jobs request from a cluster (docs/cluster.md); on one machine it is not used.

Rules with `localrule: True` run where Snakemake runs, on a cluster too: they take seconds or need the network.
"""

from goodhart.launch import resources

# Snakemake lowers a request to the limit of profiles/default or of the command line: raise it to the GPUs of one job.
gpu_limit = workflow.global_resources.get("gpu").value
if gpu_limit is not None and gpu_limit < config["gpus"]:
    workflow.register_resource("gpu", config["gpus"])


def _request(rulename, input, attempt):
    inputs = {name: Path(str(path)) for name, path in input.items() if path}
    return resources.request(rulename, config, inputs, attempt)


def host_memory(wildcards, input, attempt, rulename):
    """Memory of the node (not of its GPUs) in MB, more with each attempt."""
    return _request(rulename, input, attempt).mem_mb


def time_limit(wildcards, input, attempt, rulename):
    """Minutes, more with each attempt."""
    return _request(rulename, input, attempt).runtime
