"""A long life in virtual time: thousands of renewals and of containers that come and go, and the memory that it takes."""
