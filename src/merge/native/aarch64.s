// float16 and bfloat16 to float32 and back, and sums, with Advanced SIMD. What each function does is told in x86_64.s.
.text

// v7 = what has all ones in its exponent, v6 = where such were seen
.macro see lanes, value, scratch
    and \scratch\().16b, \value\().16b, v7.16b
    cmeq \scratch\().\lanes, \scratch\().\lanes, v7.\lanes
    orr v6.16b, v6.16b, \scratch\().16b
.endm

.macro watch_f16
    movi v7.8h, #0x7c, lsl #8
    movi v6.4s, #0
.endm

.macro watch_bf16
    movi v7.4s, #0x7f, lsl #24
    orr v7.4s, #0x80, lsl #16
    movi v5.4s, #0x7f, msl #8
    movi v4.4s, #1
    movi v6.4s, #0
.endm

// v0…v3 += 16 of delta
.macro add_delta
    ld1 {v20.4s, v21.4s, v22.4s, v23.4s}, [x1], #64
    fadd v0.4s, v0.4s, v20.4s
    fadd v1.4s, v1.4s, v21.4s
    fadd v2.4s, v2.4s, v22.4s
    fadd v3.4s, v3.4s, v23.4s
.endm

.macro load_f16
    ld1 {v16.8h, v17.8h}, [x0], #32
    fcvtl v0.4s, v16.4h
    fcvtl2 v1.4s, v16.8h
    fcvtl v2.4s, v17.4h
    fcvtl2 v3.4s, v17.8h
.endm

.macro store_f16 to
    fcvtn v16.4h, v0.4s
    fcvtn2 v16.8h, v1.4s
    fcvtn v17.4h, v2.4s
    fcvtn2 v17.8h, v3.4s
    st1 {v16.8h, v17.8h}, [\to], #32
    see 8h, v16, v18
    see 8h, v17, v19
.endm

.macro load_bf16
    ld1 {v16.8h, v17.8h}, [x0], #32
    shll v0.4s, v16.4h, #16
    shll2 v1.4s, v16.8h, #16
    shll v2.4s, v17.4h, #16
    shll2 v3.4s, v17.8h, #16
.endm

.macro round_one value, scratch
    see 4s, \value, \scratch
    ushr \scratch\().4s, \value\().4s, #16
    and \scratch\().16b, \scratch\().16b, v4.16b
    add \value\().4s, \value\().4s, v5.4s
    add \value\().4s, \value\().4s, \scratch\().4s
.endm

.macro store_bf16 to
    round_one v0, v16
    round_one v1, v17
    round_one v2, v18
    round_one v3, v19
    shrn v16.4h, v0.4s, #16
    shrn2 v16.8h, v1.4s, #16
    shrn v17.4h, v2.4s, #16
    shrn2 v17.8h, v3.4s, #16
    st1 {v16.8h, v17.8h}, [\to], #32
.endm

.macro encoder kind
.globl f32_to_\kind
f32_to_\kind:
    watch_\kind
1:  ld1 {v0.4s, v1.4s, v2.4s, v3.4s}, [x0], #64
    store_\kind x1
    subs x2, x2, #16
    b.ne 1b
    b answer
.endm

.macro adder kind
.globl \kind\()_add
\kind\()_add:
    watch_\kind
1:  load_\kind
    add_delta
    store_\kind x2
    subs x3, x3, #16
    b.ne 1b
    b answer
.endm

.macro store_f32
    st1 {v0.4s, v1.4s, v2.4s, v3.4s}, [x1], #64
    subs x2, x2, #16
    b.ne 1b
    b answer
.endm

encoder f16
encoder bf16
adder f16
adder bf16

.globl f16_to_f32
f16_to_f32:
    watch_f16
1:  load_f16
    see 8h, v16, v18
    see 8h, v17, v19
    store_f32

.globl bf16_to_f32
bf16_to_f32:
    movi v6.4s, #0
1:  load_bf16
    store_f32

answer:
    umaxv s0, v6.4s
    fmov w0, s0
    cmp w0, #0
    cset w0, ne
    ret
