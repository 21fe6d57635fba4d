"""Will hold the maps that take contributions into CLIP space; there is nothing here yet."""
