from stg_ray.cli import main

main()
