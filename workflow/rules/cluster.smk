"""What jobs request from a cluster (docs/cluster.md); not used on a single machine.

Rules with `localrule: True` run on Snakemake's own machine, even with a cluster: they take seconds or need the network.
"""

from goodhart.launch import resources

# Snakemake caps a request at the limit of profiles/default or the command line. Raise the limit to one job's GPUs.
gpu_limit = workflow.global_resources.get("gpu").value
if gpu_limit is not None and gpu_limit < config["gpus"]:
    workflow.register_resource("gpu", config["gpus"])


def _request(rulename, input, attempt):
    inputs = {name: Path(str(path)) for name, path in input.items() if path}
    return resources.request(rulename, config, inputs, attempt)


def host_memory(wildcards, input, attempt, rulename):
    """Host memory (not GPU memory) in MB, increased with each attempt."""
    return _request(rulename, input, attempt).mem_mb


def time_limit(wildcards, input, attempt, rulename):
    """Time limit in minutes, increased with each attempt."""
    return _request(rulename, input, attempt).runtime
