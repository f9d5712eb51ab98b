/** Where to go after signing in: an address of this page, never one that leads elsewhere (`//evil.test`). */
export function safeNext(next: string | null): string {
  if (!next?.startsWith("/") || /^\/[/\\]/.test(next) || next.startsWith("/sign-in")) return "/";
  return next;
}
