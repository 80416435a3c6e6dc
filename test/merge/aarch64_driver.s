// Gives what stdin has to one of src/merge/native/aarch64.s's functions, writes its output to stdout, and exits with its answer. The linker is told
// the function and the bytes of a value: ld --defsym function=f16_to_f32 --defsym from_bytes=2 --defsym delta_bytes=0 --defsym to_bytes=4
// A sum's delta comes after all that it is added to.
.bss
.balign 16
from: .skip 0x800000
to: .skip 0x1000000
.text
.globl _start
_start:
    adrp x19, from
    add x19, x19, :lo12:from
    mov x20, #0
1:  mov x0, #0
    add x1, x19, x20
    mov x2, #0x800000
    sub x2, x2, x20
    mov x8, #63
    svc #0
    cmp x0, #0
    b.le 2f
    add x20, x20, x0
    b 1b
2:  ldr x3, =from_bytes
    ldr x4, =delta_bytes
    add x5, x3, x4
    udiv x20, x20, x5
    adrp x21, to
    add x21, x21, :lo12:to
    mov x0, x19
    cbz x4, 5f
    madd x1, x20, x3, x19
    mov x2, x21
    mov x3, x20
    b 6f
5:  mov x1, x21
    mov x2, x20
6:  bl function
    mov w22, w0
    ldr x3, =to_bytes
    mul x20, x20, x3
3:  mov x0, #1
    mov x1, x21
    mov x2, x20
    mov x8, #64
    svc #0
    cmp x0, #0
    b.le 4f
    add x21, x21, x0
    subs x20, x20, x0
    b.ne 3b
4:  mov w0, w22
    mov x8, #93
    svc #0
