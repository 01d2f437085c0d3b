"""The inspector: exchanges as they happen, why they went as they did, and rules to try, on the admin port.

It is given records, in which what is secret was replaced by the worker that wrote them. It sends nothing anywhere,
changes nothing, and keeps what it shows in memory alone.
"""
