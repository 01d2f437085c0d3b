"""Vestibule: rules before and after an auth endpoint.

The map, in the order in which imports may point (each line may use those above it):

    engine/     what runs: messages, bodies, rules, phases. Pure: no I/O, no clock, no event loop.
    language/   what an author writes, compiled to what the engine runs. Pure.
    services/   what reaches outside for the rules: rule files, secrets, stores.
    observe/    logs, redaction, metrics.
    edge/       HTTP in and out.
    admin/      the operator's port.
    sandbox/    upstreams to try rules against.
    cli/        one module per command.

`settings.py` holds what an operator may set. This package has no public Python API.
"""

__version__ = "0.1.0"
# The commit, once git has made an archive of it: see .gitattributes.
__revision__ = "$Format:%H$"
