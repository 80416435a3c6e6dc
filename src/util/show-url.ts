/** A URL for people: the password in it, if there is one, as `***`. Text that is no URL comes back as it is. */
export function showUrl(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/[^\s/@:]*):[^\s/]*@/i, "$1:***@");
}
