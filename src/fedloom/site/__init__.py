"""What runs at a site: a thin Flower ClientApp, the resident worker behind it, and what the site decides for itself.

SuperLink --TLS--> SuperNode --starts--> ClientApp (app.py) --socket (link.py)--> worker (worker.py) --> desk.py
                                                                                                        Trainer

Nothing here imports torch before there is work to do: a ClientApp is a new process for every message.
"""
