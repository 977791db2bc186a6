"""Sampling engines: continuous batching in this process, or a server that speaks the OpenAI protocol."""
