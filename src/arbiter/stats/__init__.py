"""Small pure statistics: estimators and sequential tests."""
