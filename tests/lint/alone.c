/* The main of a program that holds one wing: see CMakeLists.txt. */

int main(void)
{
    return 0;
}
