"""The positions that `bench` searches: openings, middlegames and endings of different character."""

POSITIONS = (
    "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1",
    "r1bqkbnr/pppp1ppp/2n5/1B2p3/4P3/5N2/PPPP1PPP/RNBQK2R b KQkq - 3 3",
    "rnbqkb1r/1p2pppp/p2p1n2/8/3NP3/2N5/PPP2PPP/R1BQKB1R w KQkq - 0 6",
    "rnbq1rk1/ppp1ppbp/3p1np1/8/2PPP3/2N2N2/PP2BPPP/R1BQK2R b KQ - 3 6",
    "r2q1rk1/pb1nbppp/1p2pn2/2pp4/2PP4/1P1BPN2/PB1N1PPP/R2Q1RK1 w - - 2 11",
    "2r2rk1/pp1bqppp/3ppn2/8/3QP3/2N5/PPP2PPP/1K1R1B1R w - - 0 14",
    "r1b2rk1/2q1bppp/p2ppn2/1p6/3QP3/1BN1B3/PPP2PPP/R4RK1 w - - 0 13",
    "4rrk1/pp3ppp/2p5/3p1b2/3P1Pq1/2NBP3/PPQ3PP/R4RK1 b - - 4 18",
    "8/5pk1/4p1p1/3pP2p/1p1P1P1P/1P2K1P1/8/8 w - - 0 40",
    "8/8/1p1r1kp1/p1p2p1p/P1P2P1P/1P2R1P1/6K1/8 b - - 0 38",
    "6k1/5p1p/4p1p1/1Q6/3q4/6P1/5P1P/6K1 b - - 1 33",
    "8/2k5/3b4/2pP1p2/1pP1pP2/1P2B3/5K2/8 w - - 0 50",
)
