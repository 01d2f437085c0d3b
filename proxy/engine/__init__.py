"""What runs: messages, rules and phases, without I/O, clock or event loop.

The edge hands in a `Request`, gets back an answer, "forward it", or a `Pending` effect, and so does everything else
that runs rules: the test runner and every adapter. Nothing here may import aiohttp, asyncio, time or a file.
"""
