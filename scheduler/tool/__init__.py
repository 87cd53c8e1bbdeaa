"""The tools `schedule_read` and `schedule`: the verbs for an agent, over the Model Context Protocol.

Only server.py needs the SDK.
"""
