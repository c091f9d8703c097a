"""What holds for every test."""

import os

# No test goes to the network for the photographs of frost; commands that tests start inherit it.
os.environ["PUSHPULL_OFFLINE"] = "1"
