"""Losses as pure functions of tensors: no state, no network, no data."""
