"""Nested HEALPix arithmetic.

The scheme is that of Gorski et al. 2005 (ApJ 622, 759, doi:10.1086/427976), sections 4
and 5.  With ``z = sin(latitude)`` and ``t`` the longitude in quarter turns, two families
of lines cut the sphere into cells.  Counted from the corner of a base face they are

    belt, |z| <= 2/3:   up = nside (1/2 + t - 3z/4),   down = nside (1/2 + t + 3z/4)
    caps, |z| > 2/3:    up = u w,   down = (1 - u) w   with u = t - floor(t),
                        w = nside sqrt(3 (1 - |z|)) = nside sqrt(6) sin(colatitude / 2)

A cell is a pair of whole numbers (floor(up), floor(down)).  From it follow the place
(face, ix, iy) in a base face, whose interleaved bits are the nested id, and the place
(ring, index) on a circle of latitude: rings 1 to 4 nside - 1 from north to south, in each
of them ``4 * min(ring, nside, 4 nside - ring)`` cells eastwards from 0 E.

Cells are found with the operations of healpy in the order of healpy, so that a centre
exactly on the edge of a box falls to the same side of it, rounding included.

Loops are compiled when they are called first, by `kept`, which alone imports numba; `loops`
says how.  A few cells are dealt with in plain numpy, by `few`, with equal bits.
The loops release the interpreter lock and use no threads of their own; who wants two cores
calls them from two threads, each with its own output.
"""
