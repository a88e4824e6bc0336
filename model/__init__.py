"""The network: encoding, backbone, neighbour encoder, chunked cross-attention, heads, training."""

import os

# On a machine shared with other programs (an opponent's engine, say) a thread that spins while it waits for the
# others costs them, and with them itself, most of the speed. Read once, when torch's OpenMP library loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
