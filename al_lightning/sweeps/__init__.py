"""Many runs from one file: which runs there are (plan), how one is started (launch), and how all are carried out (conduct)."""
