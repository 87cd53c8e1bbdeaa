"""One attempt of one run, by kind of runner. A runner is handed a task's bytes and says how the attempt ended.

It knows no database and no schedule: what to run comes in as values, and what happened goes out as one.
"""
