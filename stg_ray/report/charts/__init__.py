"""Charts of the page: vector graphics and images made here, so that the page needs no library and opens at once."""
