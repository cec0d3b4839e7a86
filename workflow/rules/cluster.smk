"""What jobs ask a cluster for; on one machine nothing reads it. docs/cluster.md has the whole account.

Rules with `localrule: True` run where Snakemake runs, on a cluster too: they take seconds, or want the network.
"""

from goodhart.launch import resources

# Snakemake cuts what a job asks for down to the limit, of profiles/default or the command line: one job's GPUs at least.
gpu_limit = workflow.global_resources.get("gpu").value
if gpu_limit is not None and gpu_limit < config["gpus"]:
    workflow.register_resource("gpu", config["gpus"])


def _request(rulename, input, attempt):
    inputs = {name: Path(str(path)) for name, path in input.items() if path}
    return resources.request(rulename, config, inputs, attempt)


def host_memory(wildcards, input, attempt, rulename):
    """MB of memory, growing with each attempt; of the node, not of its GPUs."""
    return _request(rulename, input, attempt).mem_mb


def time_limit(wildcards, input, attempt, rulename):
    """Minutes, growing with each attempt."""
    return _request(rulename, input, attempt).runtime
