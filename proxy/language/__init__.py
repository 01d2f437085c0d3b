"""What an author writes, compiled to what the engine runs.

Text in, a Ruleset and problems out. Nothing here reads a file, a clock or the network.
"""
