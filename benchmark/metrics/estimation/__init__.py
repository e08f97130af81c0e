"""Estimate with uncertainty: intervals, debiasing, extrapolation, nearest neighbours, true float32."""
