"""Training: the parameters, the fit, and the scikit-learn estimator."""
