"""What happens to a policy outside of its simulator, as a wrapper of environments that any runner can use."""
