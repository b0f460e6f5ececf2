"""Fleet management over SSH: hosts, jobs and file transfer.

Independent of the game: runs `ringrift …` on hosts and validates their output.
"""
