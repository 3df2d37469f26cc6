"""Many runs from one file: which they are (plan), how one is started (launch), and all of them in turn (conduct)."""
