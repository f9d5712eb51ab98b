import { useEffect, useRef } from "react";

const OFF = "fettle-keys-off";

/** Single-letter keys can be turned off (WCAG 2.1.4); keys with Ctrl or ⌘ always work. */
export function keysAreOff(): boolean {
  return localStorage.getItem(OFF) === "1";
}

export function turnKeys(on: boolean): void {
  if (on) localStorage.removeItem(OFF);
  else localStorage.setItem(OFF, "1");
}

type Keys = Record<string, () => void>;

/**
 * Follows key presses: `press("g"); press("j")` finds "g j". A first key is forgotten after a second.
 *
 * @returns for each press what to do, or null.
 */
export function keySequence(): (keys: Keys, key: string, now: number) => (() => void) | null {
  let first = "";
  let at = Number.NEGATIVE_INFINITY;
  return (keys, key, now) => {
    const pair = now - at < 1000 ? keys[`${first} ${key}`] : undefined;
    if (pair) {
      first = "";
      return pair;
    }
    first = key;
    at = now;
    return keys[key] ?? null;
  };
}

/**
 * Keys of a page: `useKeys({ n: create, "g j": toJobs, "mod+k": openPalette })`.
 * Letters do nothing while somebody types, or while a dialog is open.
 */
export function useKeys(keys: Keys): void {
  const current = useRef(keys);
  current.current = keys;
  useEffect(() => {
    const find = keySequence();
    const press = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.altKey) return;
      if (event.ctrlKey || event.metaKey) {
        const action = current.current[`mod+${event.key.toLowerCase()}`];
        if (action) {
          event.preventDefault();
          action();
        }
        return;
      }
      if (keysAreOff() || isTyping(event.target) || document.querySelector('[role="dialog"]')) return;
      const action = find(current.current, event.key, event.timeStamp);
      if (action) {
        event.preventDefault();
        action();
      }
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, []);
}

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);
}
