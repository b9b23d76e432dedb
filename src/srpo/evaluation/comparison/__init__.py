"""Methods against one another: the same rollout budget and data order per seed, one table, one figure."""
