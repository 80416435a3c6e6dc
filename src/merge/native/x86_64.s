# float16 and bfloat16 to float32 and back, and sums, with AVX2 and F16C. Each function is one of
#   int A_to_B(const void *from, void *to, size_t count)
#   int A_add(const void *from, const float *delta, void *to, size_t count)       to = from + delta, in float32, rounded once
# for a count that is a multiple of 16 and not 0. It rounds to nearest, ties to even; an answer other than 0 means that there are infinities or NaN, or
# what float16 makes an infinity: their bits may not be numpy's. (bf16_to_f32 always answers 0: its bits are right in any case.)
.intel_syntax noprefix
.text

# ymm7 = what has all ones in its exponent, ymm6 = where such were seen
.macro watch pattern
    mov eax, \pattern
    vmovd xmm7, eax
    vpbroadcastd ymm7, xmm7
    vpxor xmm6, xmm6, xmm6
.endm

.macro see size, value, scratch
    vpand \scratch, ymm7, \value
    vpcmpeq\size \scratch, \scratch, ymm7
    vpor ymm6, ymm6, \scratch
.endm

# ymm0, ymm1 → 16 float16 at the address
.macro store_f16 to
    vcvtps2ph xmm2, ymm0, 0
    vcvtps2ph xmm3, ymm1, 0
    vinserti128 ymm2, ymm2, xmm3, 1
    vmovups [\to], ymm2
    see w, ymm2, ymm2
.endm

.macro watch_f16
    watch 0x7c007c00
.endm

.macro watch_bf16
    watch 0x7f800000
    mov eax, 0x7fff
    vmovd xmm5, eax
    vpbroadcastd ymm5, xmm5
    mov eax, 1
    vmovd xmm4, eax
    vpbroadcastd ymm4, xmm4
.endm

.macro store_bf16 to
    see d, ymm0, ymm2
    see d, ymm1, ymm2
    vpsrld ymm2, ymm0, 16
    vpsrld ymm3, ymm1, 16
    vpand ymm2, ymm2, ymm4
    vpand ymm3, ymm3, ymm4
    vpaddd ymm0, ymm0, ymm5
    vpaddd ymm1, ymm1, ymm5
    vpaddd ymm0, ymm0, ymm2
    vpaddd ymm1, ymm1, ymm3
    vpsrld ymm0, ymm0, 16
    vpsrld ymm1, ymm1, 16
    vpackusdw ymm0, ymm0, ymm1
    vpermq ymm0, ymm0, 0xd8
    vmovups [\to], ymm0
.endm

.macro load_f16
    vcvtph2ps ymm0, [rdi]
    vcvtph2ps ymm1, [rdi + 16]
.endm

.macro load_bf16
    vpmovzxwd ymm0, [rdi]
    vpmovzxwd ymm1, [rdi + 16]
    vpslld ymm0, ymm0, 16
    vpslld ymm1, ymm1, 16
.endm

.macro encoder kind
.globl f32_to_\kind
f32_to_\kind:
    watch_\kind
1:  vmovups ymm0, [rdi]
    vmovups ymm1, [rdi + 32]
    store_\kind rsi
    add rdi, 64
    add rsi, 32
    sub rdx, 16
    jnz 1b
    jmp answer
.endm

.macro adder kind
.globl \kind\()_add
\kind\()_add:
    watch_\kind
1:  load_\kind
    vaddps ymm0, ymm0, [rsi]
    vaddps ymm1, ymm1, [rsi + 32]
    store_\kind rdx
    add rdi, 32
    add rsi, 64
    add rdx, 32
    sub rcx, 16
    jnz 1b
    jmp answer
.endm

.macro store_f32
    vmovups [rsi], ymm0
    vmovups [rsi + 32], ymm1
    add rdi, 32
    add rsi, 64
    sub rdx, 16
    jnz 1b
    jmp answer
.endm

encoder f16
encoder bf16
adder f16
adder bf16

.globl f16_to_f32
f16_to_f32:
    watch_f16
1:  see w, [rdi], ymm2
    load_f16
    store_f32

.globl bf16_to_f32
bf16_to_f32:
    vpxor xmm6, xmm6, xmm6
1:  load_bf16
    store_f32

answer:
    xor eax, eax
    vptest ymm6, ymm6
    setnz al
    vzeroupper
    ret
