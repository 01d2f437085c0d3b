"""The same rules where another proxy carries the messages: Envoy asks, or whoever speaks forward-auth.

Nothing here decides anything: `processing.py` runs an exchange through the engine, and the module of each protocol says
what it heard and was told. No adapter opens a connection of its own. `serving.py` starts them, each of them only when
it is served: what their libraries start (threads) must not be there before the workers are forked.
"""

# What `--serve` may name; each is a module of this package with a function `start`.
NAMES = ("ext_proc", "ext_authz", "ext_authz_http", "forward_auth", "forward_auth_body")
