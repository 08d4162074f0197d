"""What ``import prunekit`` gives: policies, and what is done with them."""
