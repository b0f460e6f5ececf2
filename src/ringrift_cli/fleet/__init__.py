"""Running ringrift on other machines over SSH: hosts, jobs, and what they send back.

Nothing here knows the game: it runs `ringrift …` elsewhere, and checks what came of it.
"""
