/** Text from elsewhere (names in files, paths, output of programs) for a line that stays one line and steers no terminal: control characters become a space. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, " ");
}
