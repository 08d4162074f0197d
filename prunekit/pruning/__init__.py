"""Groups, masks, importances, penalties, the pruner and surgery: everything that needs only torch."""
