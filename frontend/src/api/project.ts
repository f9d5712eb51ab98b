/** The project that this browser looks at. Which ones there are, the session says. */
const KEY = "fettle-project";

export function chosenProject(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

export function chooseProject(id: string | null): void {
  if (id) localStorage.setItem(KEY, id);
  else localStorage.removeItem(KEY);
}
