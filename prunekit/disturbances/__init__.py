"""Disturbances of a policy outside its simulator, as a wrapper of environments for any runner."""
