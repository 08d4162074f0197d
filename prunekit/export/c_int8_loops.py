"""The loops of an integer policy in C, which stages call; @N@ is the policy's name, @I@ the type of activations."""

from __future__ import annotations

DOT16 = """static int32_t @N@_dot(const int16_t *x, const int8_t *w, int32_t sum, int count)
{
    int n;
    for (n = count / 4; n > 0; --n) {
        sum += (int32_t)x[0] * @U@_INT8(&w[0]);
        sum += (int32_t)x[1] * @U@_INT8(&w[1]);
        sum += (int32_t)x[2] * @U@_INT8(&w[2]);
        sum += (int32_t)x[3] * @U@_INT8(&w[3]);
        x += 4;
        w += 4;
    }
    for (n = count % 4; n > 0; --n)
        sum += (int32_t)*x++ * @U@_INT8(w++);
    return sum;
}
"""

# Two products of at most 127 * 127 fit into the int of a 16-bit core, where longer sums cost four times as much.
DOT8 = """static int32_t @N@_dot(const int8_t *x, const int8_t *w, int32_t sum, int count)
{
    int n;
    for (n = count / 4; n > 0; --n) {
        sum += x[0] * @U@_INT8(&w[0]) + x[1] * @U@_INT8(&w[1]);
        sum += x[2] * @U@_INT8(&w[2]) + x[3] * @U@_INT8(&w[3]);
        x += 4;
        w += 4;
    }
    for (n = count % 4; n > 0; --n)
        sum += *x++ * @U@_INT8(w++);
    return sum;
}
"""

LAYER = """static void @N@_layer_KIND(const @I@ *x, @I@ *y, const int8_t *weight, const int32_t *bias,
    const int16_t *multiplier, const uint8_t *shift, int inputs, int outputs@P@)
{
    int o;
    for (o = 0; o < outputs; ++o) {
        const int32_t sum = @N@_dot(x, weight, @U@_LONG(&bias[o]), inputs);
        const int16_t held = @N@_shifted(sum, @U@_UINT8(&shift[2 * o]));
        y[o] = @N@_int_KIND(@N@_shifted((int32_t)held * @U@_INT16(&multiplier[o]), @U@_UINT8(&shift[2 * o + 1]))@G@);
        weight += inputs;
    }
}
"""

SCORES = """static void @N@_scores(
    const @I@ *x, float *y, const int8_t *weight, const int32_t *bias, const float *step, int inputs, int outputs)
{
    int o;
    for (o = 0; o < outputs; ++o) {
        y[o] = (float)@N@_dot(x, weight, @U@_LONG(&bias[o]), inputs) * @U@_FLOAT(&step[o]);
        weight += inputs;
    }
}
"""

SUM = """static void @N@_sum_KIND(
    const @I@ *a, const @I@ *b, @I@ *y, int16_t by_a, int16_t by_b, uint8_t shift, int count@P@)
{
    int o;
    for (o = 0; o < count; ++o)
        y[o] = @N@_int_KIND(@N@_shifted((int32_t)a[o] * by_a + (int32_t)b[o] * by_b, shift)@G@);
}
"""

PRODUCT = """static void @N@_product_KIND(
    const @I@ *a, const @I@ *b, @I@ *y, uint8_t before, int16_t by, uint8_t after, int count@P@)
{
    int o;
    for (o = 0; o < count; ++o) {
        const int16_t held = @N@_shifted((int32_t)a[o] * b[o], before);
        y[o] = @N@_int_KIND(@N@_shifted((int32_t)held * by, after)@G@);
    }
}
"""

SCALED = """static void @N@_scaled_KIND(const @I@ *x, @I@ *y, int16_t by, uint8_t shift, int count@P@)
{
    int o;
    for (o = 0; o < count; ++o)
        y[o] = @N@_int_KIND(@N@_shifted((int32_t)x[o] * by, shift)@G@);
}
"""

PLACED = """static void @N@_placed_KIND(const @I@ *x, @I@ *y, const int16_t *by, const int32_t *plus,
    const uint8_t *shift, int count@P@)
{
    int o;
    for (o = 0; o < count; ++o) {
        const int32_t sum = (int32_t)x[o] * @U@_INT16(&by[o]) + @U@_LONG(&plus[o]);
        y[o] = @N@_int_KIND(@N@_shifted(sum, @U@_UINT8(&shift[o]))@G@);
    }
}
"""

PICKED = """static void @N@_picked(const @I@ *x, @I@ *y, const uint16_t *places, int count)
{
    int o;
    for (o = 0; o < count; ++o)
        y[o] = x[(uint16_t)@U@_INT16(&places[o])];
}
"""

FLOATED = """static void @N@_floated(const @I@ *x, float *y, const float *unit, const float *middle, int count)
{
    int o;
    for (o = 0; o < count; ++o)
        y[o] = (float)x[o] * @U@_FLOAT(&unit[o]) + @U@_FLOAT(&middle[o]);
}
"""

# The values are read twice, because a copy of the centred values would take memory.
NORM = """static int32_t @N@_halved(int32_t value, uint8_t by)
{
    return (value + (((int32_t)1 << by) >> 1)) >> by;
}

static void @N@_norm_KIND(const @I@ *x, @I@ *y, int centred, int32_t epsilon, int32_t total, uint8_t narrow,
    uint8_t far, int16_t by, uint8_t shift, int count)
{
    int32_t sum = 0, mean, largest = epsilon, value, inverse;
    uint32_t squares, root = 0, bit;
    uint8_t down = 0;
    int o;
    for (o = 0; o < count; ++o)
        sum += @X@;
    mean = centred ? (sum + (sum < 0 ? -(total / 2) : total / 2)) / total : 0;
    for (o = 0; o < count; ++o) {
        value = @X@ - mean;
        value = value < 0 ? -value : value;
        largest = value > largest ? value : largest;
    }
    value = mean < 0 ? -mean : mean;
    if (total > count && value > largest)
        largest = value;
    while (((largest * 8192) >> down) >= 16384)
        ++down;
    value = @N@_halved(epsilon * 8192, down);
    squares = (uint32_t)total * (uint32_t)@N@_halved(value * value, narrow);
    value = @N@_halved(mean * 8192, down);
    if (total > count)
        squares += (uint32_t)(total - count) * (uint32_t)@N@_halved(value * value, narrow);
    for (o = 0; o < count; ++o) {
        value = @N@_halved((@X@ - mean) * 8192, down);
        squares += (uint32_t)@N@_halved(value * value, narrow);
    }
    while (squares < ((uint32_t)1 << 30)) {
        squares <<= 2;
        --far;
    }
    for (bit = 32768; bit != 0; bit >>= 1) {
        const uint32_t more = root + bit;
        if (more * more <= squares)
            root = more;
    }
    inverse = (int32_t)((((uint32_t)1 << 30) + (root >> 1)) / root);
    inverse = inverse > 32767 ? 32767 : inverse;
    for (o = 0; o < count; ++o) {
        const int16_t held = @N@_shifted(@N@_halved((@X@ - mean) * 8192, down) * inverse, far);
        y[o] = @N@_int_KIND(@N@_shifted((int32_t)held * by, shift));
    }
}
"""
