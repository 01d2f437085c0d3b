"""Signed tokens (RFC 7515, 7519): one spelling each, algorithms from the rule, keys that fit them, everything checked.

Pure: keys are handed in, the clock is the exchange's. The actions that verify and mint are in `actions/`.
"""
