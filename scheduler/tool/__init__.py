"""The tools `schedule_read` and `schedule`: the verbs for an agent, by the Model Context Protocol.

server.py alone needs the SDK.
"""
