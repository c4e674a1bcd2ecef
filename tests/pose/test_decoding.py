"""Joints out of heat maps and SimCC: numbers by hand, and a loop over single maps."""

import numpy as np
import pytest

from fastreid_ext.pose.decoding import decode_heat_maps, decode_offsets, decode_simcc


def one_map(cells, height=6, width=5):
    """Return (1, 1, h, w) with {(x, y): value}."""
    maps = np.zeros((1, 1, height, width), np.float32)
    for (x, y), value in cells.items():
        maps[0, 0, y, x] = value
    return maps


def test_cell_i_is_pixel_i_times_the_stride():
    # 20x24 pixels, 4 a cell
    assert decode_heat_maps(one_map({(2, 3): 0.5}), (20, 24)).tolist() == [[[8, 12, 0.5]]]
    right_and_up = one_map({(2, 3): 0.5, (3, 3): 0.2, (1, 3): 0.1, (2, 2): 0.3})
    assert decode_heat_maps(right_and_up, (20, 24)).tolist() == [[[9, 11, 0.5]]]  # a quarter of 4 pixels
    left_and_down = one_map({(2, 3): 0.5, (1, 3): 0.2, (2, 4): -0.1, (2, 2): -0.3})
    assert decode_heat_maps(left_and_down, (20, 24)).tolist() == [[[7, 13, 0.5]]]
    # the strides of x and y are their own
    assert decode_heat_maps(one_map({(2, 3): 0.5}), (10, 18)).tolist() == [[[4, 9, 0.5]]]


def test_udp_goes_from_the_first_pixel_to_the_last():
    # pixels 0 to 19 and 0 to 23 in cells 0 to 4 and 0 to 5: 4.75 and 4.6 pixels from one to the next
    assert decode_heat_maps(one_map({(4, 5): 1}), (20, 24), udp=True).tolist() == [[[19, 23, 1]]]
    np.testing.assert_allclose(
        decode_heat_maps(one_map({(2, 3): 1, (3, 3): 0.5}), (20, 24), udp=True), [[[10.6875, 13.8, 1]]], atol=1e-6
    )


@pytest.mark.parametrize("place", [(0, 0), (4, 5), (0, 5)])
def test_a_cell_at_the_edge_is_not_shifted_across_it(place):
    neighbours = {
        (x, y): 0.2 for x, y in ((place[0] + 1, place[1]), (place[0] - 1, place[1])) if 0 <= x < 5 and 0 <= y < 6
    }
    joints = decode_heat_maps(one_map({place: 0.5, **neighbours}), (20, 24))
    assert joints.tolist() == [[[4 * place[0], 4 * place[1], 0.5]]]


def test_confidence_is_cut():
    maps = np.full((1, 3, 4, 4), -2, np.float32)
    maps[0, 0, 1, 1], maps[0, 1, 1, 1] = 1.5, -0.5
    assert decode_heat_maps(maps, (16, 16))[0, :, 2].tolist() == [1, 0, 0]
    assert decode_heat_maps(maps, (16, 16))[0, 1, :2].tolist() == [4, 4]


def naive_heat_map(heat, input_size):
    """The same of one map (h, w), in words of its definition."""
    height, width = heat.shape
    best = max((heat[y, x], -y, -x) for y in range(height) for x in range(width))
    value, y, x = best[0], -best[1], -best[2]
    shift = [0.0, 0.0]
    if 0 < x < width - 1 and heat[y, x + 1] != heat[y, x - 1]:
        shift[0] = 0.25 if heat[y, x + 1] > heat[y, x - 1] else -0.25
    if 0 < y < height - 1 and heat[y + 1, x] != heat[y - 1, x]:
        shift[1] = 0.25 if heat[y + 1, x] > heat[y - 1, x] else -0.25
    return [(x + shift[0]) * input_size[0] / width, (y + shift[1]) * input_size[1] / height, min(max(value, 0), 1)]


def test_heat_maps_against_a_loop():
    maps = np.random.RandomState(0).uniform(-0.2, 1.2, (3, 17, 8, 6)).astype(np.float32)
    expected = [[naive_heat_map(heat, (24, 32)) for heat in image] for image in maps]
    np.testing.assert_allclose(decode_heat_maps(maps, (24, 32)), expected, rtol=0, atol=1e-6)


def test_simcc_by_hand():
    x, y = np.zeros((1, 2, 12), np.float32), np.zeros((1, 2, 16), np.float32)
    x[0, 0, 5], y[0, 0, 9] = 0.6, 0.4
    x[0, 1, 11], y[0, 1, 0] = 0.3, 1.5
    # 6x8 pixels in halves: bin 5 is pixel 2.5, bin 9 pixel 4.5
    np.testing.assert_allclose(decode_simcc(x, y, (6, 8)), [[[2.5, 4.5, 0.4], [5.5, 0, 0.3]]], rtol=0, atol=1e-7)
    assert decode_simcc(x * 4, y, (6, 8))[0, 1, 2] == 1  # of 1.2 and 1.5, cut
    assert decode_simcc(-x - 1, y, (6, 8))[0, :, 2].tolist() == [0, 0]


def test_offsets_lead_from_the_highest_cell():
    maps, offsets = one_map({(2, 3): 0.5, (3, 3): 0.4}), np.zeros((1, 1, 2, 6, 5), np.float32)
    offsets[0, 0, :, 3, 2] = 0.25, -0.5  # x, y
    offsets[0, 0, :, 3, 3] = 9
    # 20x24 pixels, 4 a cell: (2.25, 2.5) cells, also without the quarter that neighbours give
    assert decode_offsets(maps, offsets, None, (20, 24)).tolist() == [[[9, 10, 0.5]]]
    assert decode_offsets(maps, offsets, None, (10, 48)).tolist() == [[[4.5, 20, 0.5]]]


def test_weights_choose_the_cell_and_leave_the_confidence():
    maps, offsets = one_map({(1, 1): 0.9, (4, 5): 0.5}), np.zeros((1, 1, 2, 6, 5), np.float32)
    weights = one_map({(1, 1): 0.5, (4, 5): 1}) + 0.01
    assert decode_offsets(maps, offsets, None, (5, 6))[..., :2].tolist() == [[[1, 1]]]
    np.testing.assert_allclose(decode_offsets(maps, offsets, weights, (5, 6)), [[[4, 5, 0.5]]])


def test_offsets_against_a_loop():
    random = np.random.RandomState(0)
    maps, weights = random.uniform(-0.2, 1.2, (2, 3, 17, 8, 6)).astype(np.float32)
    offsets = random.standard_normal((3, 17, 2, 8, 6)).astype(np.float32)
    expected = np.empty((3, 17, 3))
    for image, joint in np.ndindex(3, 17):
        cells = [(maps[image, joint, y, x] * weights[image, joint, y, x], -y, -x) for y in range(8) for x in range(6)]
        _, y, x = max(cells)
        shift = offsets[image, joint, :, -y, -x]
        value = min(max(maps[image, joint, -y, -x], 0), 1)
        expected[image, joint] = (shift[0] - x) * 4, (shift[1] - y) * 4, value
    np.testing.assert_allclose(decode_offsets(maps, offsets, weights, (24, 32)), expected, rtol=0, atol=1e-5)
