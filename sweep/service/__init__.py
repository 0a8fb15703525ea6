"""The service: studies launched, watched, compared and exported by HTTP and in a browser.

It does nothing that the command line cannot do: both call the same functions, on the same store.
FastAPI and uvicorn are imported only here.
"""
