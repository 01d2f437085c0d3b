"""The same rules where another proxy carries the messages: Envoy asks, or whoever speaks forward-auth.

Nothing here decides anything: `processing.py` runs an exchange through the engine, and the module of each protocol says
what it heard and was told. No adapter opens a connection of its own.
"""
